# Change the host names to those of your machines. `disnix-capture-infra` writes such a model from
# what the machines say about themselves.
let
  # What Dysnomia has on every machine
  containers = {
    process = { };
    systemd-unit = { };
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
