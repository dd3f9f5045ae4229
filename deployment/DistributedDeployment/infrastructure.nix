# Change the host names to those of your machines, and what Dysnomia has there. `disnix-capture-infra`
# writes such a model from what the machines say about themselves.
let
  containers = systemd: {
    process = { };
    systemd-unit = systemd;
    # The proxy brings its units itself.
    wrapper = systemd;
  };

  onNixOS = containers { };

  # On any other system Dysnomia has to be told where systemd looks for units, and what starts them when
  # the machine boots.
  onOtherLinux = containers {
    systemdTargetDir = "/etc/systemd/system";
    systemdRootTarget = "multi-user.target.wants";
  };
in
{
  test1 = {
    properties.hostname = "test1";
    containers = onNixOS;
  };

  test2 = {
    properties.hostname = "test2";
    containers = onNixOS;
  };
}
