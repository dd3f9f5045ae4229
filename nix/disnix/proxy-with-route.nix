# The proxy and its route as one service, for a distribution model without hello_world_route: it depends on
# the server, sets its own target and has its own lock.
{ stdenv, writeScript, runCommand, currentModules }:

# The server of the services model, the function for the package of the route, and the proxy as a service
# without a route
{ hello_world_server, route }:
proxy:

let
  package =
    dependencies@{ hello_world_server }:
    let
      routePackage = route (dependencies // { disnix_tcp_proxy = proxy; });

      wrapper = writeScript "disnix-tcp-proxy-with-route" ''
        #! ${stdenv.shell}
        # Called by Dysnomia: wrapper OPERATION CONTAINER.

        proxy() { ${proxy.pkg}/bin/wrapper "$@"; }

        route() { ${routePackage}/bin/wrapper "$@"; }

        case "$1" in
            activate)
                proxy "$@" || exit
                route "$@" || {
                    proxy deactivate "''${@:2}"
                    exit 1
                }
                ;;
            unlock)
                status=0
                route "$@" || status=1
                proxy "$@" || status=1
                exit "$status"
                ;;
            lock)
                proxy "$@" && route "$@"
                ;;
            *)
                route "$@" && proxy "$@"
                ;;
        esac
      '';
    in
    runCommand "disnix-tcp-proxy-with-route" { } ''
      install -D -m 755 ${wrapper} $out/bin/wrapper
      # For administrators: in the profile of the proxy's machine.
      cp -d ${routePackage}/bin/disnix-tcp-proxyctl $out/bin/
      ${currentModules [ "wrapper" ]}
    '';
in
proxy
// {
  pkg = package;
  dependsOn = { inherit hello_world_server; };
}
