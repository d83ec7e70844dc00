"""The rules, one a file; `fanin.rules.table` lists them."""
