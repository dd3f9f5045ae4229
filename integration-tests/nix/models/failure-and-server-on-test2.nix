{ infrastructure }:

import ./server-on-test2.nix { inherit infrastructure; }
// {
  failing = [ infrastructure.test1 ];
}
