"""The command line: options → configuration → one running daemon."""
