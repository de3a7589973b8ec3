"""One small file for each tool."""
