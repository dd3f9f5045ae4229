# A machine that Disnix can deploy services to.
{
  services.disnix = {
    enable = true;
    enableProfilePath = true;
  };
  services.openssh.enable = true;

  dysnomia.enableLegacyModules = false;

  # The ports that services get.
  networking.firewall.allowedTCPPortRanges = [
    (
      let
        inherit (import ../DistributedDeployment/idresources.nix) ports;
      in
      {
        from = ports.min;
        to = ports.max;
      }
    )
  ];
}
