"""Changes of elements: the operations of a request, their places in the tree, and their edit of the document."""
