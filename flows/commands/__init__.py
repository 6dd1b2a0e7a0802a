"""The commands of `moinho`, a module for each kind; flows/cli.py gives them their names."""
