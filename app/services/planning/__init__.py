"""What an import is judged by: one family of rules a file, pure but for `known`, which reads what is registered."""
