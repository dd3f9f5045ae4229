# The names in the attribute set of a file.
{ file }:

builtins.attrNames (import file)
