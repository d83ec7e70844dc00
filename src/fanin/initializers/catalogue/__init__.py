"""The laws, one a file; `fanin.initializers.registry` lists them."""
