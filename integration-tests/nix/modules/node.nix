# A machine of one of the tests in nix/tests, see evaluate.nix.
{
  test,
  node,
  # The name of its current specialisation.
  specialisation ? null,
}:

let
  machine = (import test).nodes.${node};
  variants = (import ./evaluate.nix { configuration = machine; }).specialisations;
in
import ./evaluate.nix {
  configuration.imports = [
    machine
  ]
  ++ (if specialisation == null then [ ] else [ variants.${specialisation}.configuration ]);
}
