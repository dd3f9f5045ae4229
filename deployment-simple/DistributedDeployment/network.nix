{
  test1 = import ../../deployment/configurations/test-vm.nix;
  test2 = import ../../deployment/configurations/test-vm.nix;
}
