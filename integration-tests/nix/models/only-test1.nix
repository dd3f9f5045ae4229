# An infrastructure model without test2.
{
  inherit (import ../../../deployment/DistributedDeployment/infrastructure.nix) test1;
}
