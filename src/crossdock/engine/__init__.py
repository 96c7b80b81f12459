"""How it moves: intake, decider, step runner, poller, control. The engine executes rows."""
