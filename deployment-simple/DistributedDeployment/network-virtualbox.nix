{
  test1 = import ../configurations/virtualbox.nix;
  test2 = import ../configurations/virtualbox.nix;
}
