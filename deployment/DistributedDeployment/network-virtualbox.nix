{
  # NixOps 2 requires a description and a place for the state.
  network = {
    description = "disnix-proxy-example";
    storage.legacy = { };
  };

  test1 = import ../configurations/virtualbox.nix;
  test2 = import ../configurations/virtualbox.nix;
}
