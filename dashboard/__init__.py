"""The dashboard: HTTP API, live feed and page over what the stream processor committed."""
