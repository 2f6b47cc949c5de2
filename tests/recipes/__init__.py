"""docs/recipes, played with the servers of Debian's packages: ``make test-recipes``.

Each section is a scene (tests/docs) in a box of its own, which boots a Debian in which all packages
are unpacked that the recipes install. ``apt install`` does here what else it does: it enables and
starts the services of the packages. ``client$`` is a machine in a network of its own, behind the
box's eth0.

After a scene, the test restarts each unit that the scene has a file of, and reboots. Each time the
client must see again what the document shows.
"""
