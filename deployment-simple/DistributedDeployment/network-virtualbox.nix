{
  # NixOps 2 refuses a network that does not say how it is called and where its state is.
  network = {
    description = "disnix-proxy-example";
    storage.legacy = { };
  };

  test1 = import ../configurations/virtualbox.nix;
  test2 = import ../configurations/virtualbox.nix;
}
