"""The command line: options, YAML files, --help, and the one place that exits."""
