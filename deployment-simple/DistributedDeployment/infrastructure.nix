# Change the host names to those of your machines. `disnix-capture-infra` writes such a model from the
# machines' own descriptions.
let
  # Dysnomia's containers on every machine
  containers = {
    process = { };
    wrapper = { };
  };
in
{
  test1 = {
    properties.hostname = "test1";
    inherit containers;
  };

  test2 = {
    properties.hostname = "test2";
    inherit containers;
  };
}
