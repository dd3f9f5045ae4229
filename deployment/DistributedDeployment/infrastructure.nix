# Change the host names to those of your machines, and the containers to those of their Dysnomia.
# `disnix-capture-infra` writes such a model from the machines' own descriptions.
let
  containers = systemd: {
    process = { };
    systemd-unit = systemd;
    # The proxy brings its own units.
    wrapper = systemd;
  };

  onNixOS = containers { };

  # On other systems Dysnomia needs systemd's directory of units, and the target that starts them at a boot.
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
