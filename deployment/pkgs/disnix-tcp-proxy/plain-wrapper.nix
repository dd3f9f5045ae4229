# The script for Dysnomia's module `wrapper`, for a proxy under a process manager that only starts and
# stops it. An upgrade of the server waits for the drain, as always; an upgrade of the proxy itself closes
# its listening socket.
{ stdenv, dysnomia, processType, writeScript }:

writeScript "disnix-tcp-proxy-wrapper" ''
  #! ${stdenv.shell} -e
  # Called by Dysnomia: wrapper OPERATION CONTAINER.

  case "$1" in
      activate | deactivate)
          exec ${dysnomia}/libexec/dysnomia/${processType} "$1" "''${0%/bin/wrapper}"
          ;;
      lock | unlock)
          # hello_world_route does this.
          ;;
      *)
          echo "disnix_tcp_proxy: there is no operation $1" >&2
          exit 1
          ;;
  esac
''
