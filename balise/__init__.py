"""The front door: command line, embedded servers, supervisor and demo."""
