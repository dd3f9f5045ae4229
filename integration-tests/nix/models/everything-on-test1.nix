{ infrastructure }:

builtins.mapAttrs (_: _: [ infrastructure.test1 ]) (
  import ../../../deployment/DistributedDeployment/distribution-with-proxy.nix {
    infrastructure = infrastructure // {
      test2 = infrastructure.test1;
    };
  }
)
