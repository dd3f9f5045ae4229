{ infrastructure }:

import ../../../deployment/DistributedDeployment/distribution-with-proxy.nix { inherit infrastructure; }
// {
  hello_world_server = [ infrastructure.test2 ];
}
