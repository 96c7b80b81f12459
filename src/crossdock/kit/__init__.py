"""What a connector is written with: declaration, calls and outcomes, HTTP session, webhook verification."""
