"""The entry of sockreg-etcd.service, run as a file with the path of the command sockreg:

python3 -I -S follow/__main__.py /usr/bin/sockreg
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/sockreg/")[0])
    from sockreg.follow.loop import main

    sys.exit(main(sys.argv[1]))
