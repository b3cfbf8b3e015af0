#!/bin/sh
# Take out of the virtual environment $1 what no service uses: the packages' own tests, and the debug information of
# extension modules, which is most of their size (163 of the 185 MB of hdf5plugin).
set -eu
find "$1" -type d -name tests -prune -exec rm -rf {} +
# Libraries in *.libs were moved about by auditwheel; strip can break those.
find "$1" -name '*.so' -not -path '*.libs/*' -exec strip --strip-debug {} +
