"""B2B portal: declared in `declaration`, spoken to in `client`, translated in `translate`."""
