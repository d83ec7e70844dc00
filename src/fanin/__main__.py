"""``python -m fanin``: the ``fanin`` command of this very Python."""

from fanin.commands.app import main

if __name__ == "__main__":
    main()
