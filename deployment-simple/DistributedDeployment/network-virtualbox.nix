{
  # NixOps 2 requires a description and a place for the state.
  network = {
    description = "disnix-proxy-example";
    storage.legacy = { };
  };

  test1 = import ../../deployment/configurations/virtualbox.nix;
  test2 = import ../../deployment/configurations/virtualbox.nix;
}
