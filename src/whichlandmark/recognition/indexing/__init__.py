"""An index run in shards: pieces of the table, each embedded into a file of its own on any machine,
then loaded into a gallery in the table's order.
"""
