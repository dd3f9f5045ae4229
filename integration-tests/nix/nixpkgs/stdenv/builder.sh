# The builder of every derivation that mkDerivation makes.
source "$setup"
genericBuild
