"""Files named like secrets: they are left out as a whole, whatever is in them. Case in names does not count.

What stands in other files is looked through by `core.secrets`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from pathlib import PurePosixPath

from glm_lsp.core import secrets

_SECRETS = ("secret", "secrets", "secrets[.-]*")
_STAGES = ("local", "prod", "production", "dev", "development", "stage", "staging", "test")
_SETTINGS = ("json", "yml", "yaml", "toml", "ini", "conf", "cfg", "properties")
NAMES: tuple[tuple[str, str], ...] = (
    (".env", "an environment file"),
    (".env[!a-z]*", "an environment file"),
    ("*.env", "an environment file"),
    (".envrc*", "an environment file"),
    (".flaskenv*", "an environment file"),
    (".dotenv*", "an environment file"),
    ("env", "an environment file"),
    ("env.prod*", "an environment file"),
    ("env.local*", "an environment file"),
    ("env.dev*", "an environment file"),
    ("env.stag*", "an environment file"),
    ("env.test*", "an environment file"),
    *((f"*.env.{stage}", "an environment file") for stage in _STAGES),
    *((f"env[-_]{stage}", "an environment file") for stage in _STAGES),
    (".envs/.*", "an environment file"),
    ("*.pem", "a key or certificate"),
    ("*.key", "a key"),
    ("*.p12", "a key store"),
    ("*.pfx", "a key store"),
    ("*.jks", "a key store"),
    ("*.keystore", "a key store"),
    ("*.p8", "a key"),
    ("*.ppk", "a key"),
    ("*.asc", "a key or signature"),
    ("*.gpg", "encrypted or a key ring"),
    ("*.crt", "a certificate"),
    ("*.cer", "a certificate"),
    ("*.der", "a certificate"),
    ("id_rsa*", "an SSH key"),
    ("id_dsa*", "an SSH key"),
    ("id_ecdsa*", "an SSH key"),
    ("id_ed25519*", "an SSH key"),
    ("*_rsa", "an SSH key"),
    ("*_ed25519", "an SSH key"),
    (".netrc", "a password file"),
    ("_netrc", "a password file"),
    (".npmrc", "a registry token file"),
    (".yarnrc.yml", "a registry token file"),
    (".pypirc", "a registry token file"),
    (".gem/credentials", "a registry token file"),
    (".dockercfg", "a registry token file"),
    (".docker/config.json", "a registry token file"),
    (".git-credentials", "a password file"),
    (".htpasswd", "a password file"),
    (".pgpass", "a password file"),
    (".my.cnf", "a password file"),
    ("credentials", "a credentials file"),
    ("credentials.*", "a credentials file"),
    ("credentials-*.json", "a credentials file"),
    ("client_secret*.json", "a credentials file"),
    ("*service-account*.json", "a service account"),
    ("*service_account*.json", "a service account"),
    *((f"{name}.{suffix}", "a secrets file") for name in _SECRETS for suffix in _SETTINGS),
    ("local.settings.json", "a secrets file"),
    ("wp-config.php", "a secrets file"),
    ("kubeconfig", "cluster credentials"),
    ("*.kubeconfig", "cluster credentials"),
    (".kube/config", "cluster credentials"),
    (".aws/*", "cloud credentials"),
    (".azure/*", "cloud credentials"),
    (".ssh/*", "SSH configuration"),
    (".gnupg/*", "a key ring"),
    ("*.tfstate", "infrastructure state, which holds secrets"),
    ("*.tfstate.*", "infrastructure state, which holds secrets"),
    ("*.tfvars", "infrastructure secrets"),
    ("*.kdbx", "a password store"),
    ("*.kdb", "a password store"),
    ("*.agekey", "a key"),
    ("*.jceks", "a key store"),
    ("*.bks", "a key store"),
    ("*.snk", "a key"),
    ("*.pvk", "a key"),
    ("*.ovpn", "a network's keys"),
    ("pgpass", "a password file"),
    ("pgpass.conf", "a password file"),
    ("*.pgpass", "a password file"),
    ("htpasswd", "a password file"),
    (".htpasswd*", "a password file"),
    ("*.htpasswd", "a password file"),
    (".htdigest", "a password file"),
    ("npmrc", "a registry token file"),
    ("etc/shadow", "a password file"),
    (".vault[_-]pass*", "a password file"),
    ("vault[_-]pass*", "a password file"),
    (".vault[_-]token*", "a token file"),
    ("*.dockerconfigjson", "a registry token file"),
    (".passwd-s3fs", "cloud credentials"),
    (".s3cfg", "cloud credentials"),
    (".boto", "cloud credentials"),
    (".config/gcloud/*", "cloud credentials"),
    (".config/gh/hosts.yml", "a registry token file"),
    (".terraform.d/*", "infrastructure credentials"),
    (".terraformrc", "infrastructure credentials"),
    ("terraform.rc", "infrastructure credentials"),
    ("*.tfvars.json", "infrastructure secrets"),
    ("application_default_credentials.json", "cloud credentials"),
    ("rclone.conf", "cloud credentials"),
    (".bash_history", "a history of commands"),
    (".zsh_history", "a history of commands"),
    (".psql_history", "a history of commands"),
    (".mysql_history", "a history of commands"),
    (".python_history", "a history of commands"),
    (".node_repl_history", "a history of commands"),
    (".rediscli_history", "a history of commands"),
)
"""(pattern, what it is). A pattern with a slash is compared with the end of the path, else with the name."""

SOURCE_SUFFIXES = frozenset(
    {".py", ".pyi", ".js", ".ts", ".tsx", ".jsx", ".go", ".rs", ".java", ".kt", ".rb", ".php", ".c", ".h"}
    | {".cc", ".cpp", ".hpp", ".cs", ".swift", ".scala", ".md", ".rst"}
)
"""A module that is *called* credentials is code: what it holds is looked through as in any other."""

_MODULES = ("credentials", "env.", ".env[", "vault")
"""How patterns begin that a module may have the name of."""
_COPY = re.compile(r"(?<=.)(?:~|\.(?:bak|backup|old|orig|save|swp|tmp|copy|\d{6,8}))$")
"""What is put behind the name of a file that was kept: it holds what the file did."""
_AUTOSAVED = re.compile(r"(^|/)#([^/]+)#$")
"""What an editor keeps of a file that was not saved."""
_MAP = ".map"
"""What is put behind the name of a module, for the map of its sources."""
_NAMED = re.compile("|".join(translate(pattern) for pattern, _ in NAMES if "/" not in pattern))
_PLACES = tuple(pattern.partition("/")[0] + "/" for pattern, _ in NAMES if "/" in pattern)


def rules_version(allowed: Collection[str] = ()) -> str:
    """Another text for other rules, and for other fingerprints of what is no secret."""
    return _version(tuple(sorted(allowed)))


@lru_cache(maxsize=4)
def _version(allowed: tuple[str, ...]) -> str:
    rules = repr((NAMES, sorted(SOURCE_SUFFIXES), secrets.version(), allowed))
    return hashlib.blake2b(rules.encode(), digest_size=8).hexdigest()


def named_secret(path: str) -> str:
    """What kind of secret a file is by its name; empty where it is none."""
    lowered = _AUTOSAVED.sub(r"\1\2", path.lower())
    if (what := _named(lowered)) or (plain := _COPY.sub("", lowered)) == lowered:
        return what
    return named_secret(plain)


def _named(lowered: str) -> str:
    name = lowered.rpartition("/")[2]
    if not _NAMED.match(name) and not any(place in lowered for place in _PLACES):
        return ""
    for pattern, what in NAMES:
        if "/" in pattern:
            if fnmatchcase("/" + lowered, "*/" + pattern):
                return what
        elif fnmatchcase(name, pattern) and not (
            pattern.startswith(_MODULES) and PurePosixPath(name.removesuffix(_MAP)).suffix in SOURCE_SUFFIXES
        ):
            return what
    return ""
