# The tools of the machine as packages.
{ lib, system, callPackage }:

let
  link = import ./link.nix { inherit system; };
  words = text: lib.filter (word: word != "") (lib.splitString " " (lib.replaceStrings [ "\n" ] [ " " ] text));
  tools = name: programs: link name { programs = words programs; };

  self = {
    bash = tools "bash" "bash sh";
    bashInteractive = self.bash;
    coreutils = tools "coreutils" ''
      [ basename cat chmod chown chroot cksum comm cp cut date dd df dirname du echo env expand expr
      false fold head id install join link ln ls md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc
      numfmt od paste printenv printf pwd readlink realpath rm rmdir seq sha1sum sha256sum shuf sleep
      sort split stat stdbuf stty sum sync tac tail tee test timeout touch tr true truncate tsort tty
      uname uniq unlink users wc who whoami yes
    '';
    diffutils = tools "diffutils" "cmp diff diff3 sdiff";
    execline = tools "execline" "execlineb backtick envfile execline-cd execline-umask fdmove foreground importas";
    findutils = tools "findutils" "find xargs";
    gawk = tools "gawk" "awk gawk";
    gcc = tools "gcc" "ar as cc c++ cpp g++ gcc ld nm objcopy ranlib strip";
    getopt = tools "getopt" "getopt";
    gnugrep = tools "gnugrep" "egrep fgrep grep";
    gnumake = tools "gnumake" "make";
    gnused = tools "gnused" "sed";
    gnutar = tools "gnutar" "tar";
    gzip = tools "gzip" "gunzip gzip zcat";
    inetutils = tools "inetutils" "ftp hostname ping telnet";
    iproute2 = tools "iproute2" "bridge ip ss";
    libxslt = tools "libxslt" "xsltproc";
    nix = tools "nix" "nix nix-build nix-env nix-instantiate nix-store";
    openssh = tools "openssh" "scp ssh ssh-keygen sshd";
    patch = tools "patch" "patch";
    procps = tools "procps" "kill pgrep pkill ps sysctl top";
    s6 = tools "s6" "s6-log s6-setuidgid s6-svscan";
    nixfmt-tree = tools "nixfmt-tree" "nixfmt treefmt";
    s6-rc = tools "s6-rc" "s6-rc s6-rc-compile";
    shadow = tools "shadow" "groupadd groupdel groupmod su useradd userdel usermod";
    su = tools "su" "su";
    sysvinit = tools "sysvinit" "killall5 pidof start-stop-daemon";
    util-linux = tools "util-linux" "flock getopt logger mount nsenter setpriv setsid umount unshare";
    utillinux = self.util-linux;

    # libslack's
    daemon = tools "daemon" "daemon";

    glibc = tools "glibc" "getent ldd" // { bin = tools "glibc-bin" "getent ldd"; };

    systemd = link "systemd" {
      programs = words ''
        busctl journalctl loginctl systemctl systemd-analyze systemd-cat systemd-notify systemd-run
        systemd-socket-activate systemd-sysusers systemd-tmpfiles udevadm varlinkctl
      '';
      links."lib/systemd" = "/usr/lib/systemd";
    };

    python3Packages.supervisor = tools "supervisor" "pidproxy supervisorctl supervisord";
    python3 = tools "python3" "python3" // { pkgs = self.python3Packages; };

    nixosTest = callPackage ../../modules/run-test.nix { };

    dysnomia = callPackage ../../dysnomia { };
  };
in
self
