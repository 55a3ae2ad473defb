"""Rules for what must never enter a prompt: files named like secrets, and files that hold one.

Data, high precision: a rule that fires means that the whole file is left out. Case in names does not count.
"""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatchcase, translate
from pathlib import PurePosixPath

NAMES: tuple[tuple[str, str], ...] = (
    (".env", "an environment file"),
    (".env.*", "an environment file"),
    ("*.env", "an environment file"),
    (".envrc", "an environment file"),
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
    ("secrets.json", "a secrets file"),
    ("secrets.yml", "a secrets file"),
    ("secrets.yaml", "a secrets file"),
    ("secrets.toml", "a secrets file"),
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
)
"""(pattern, what it is). A pattern with a slash is compared with the end of the path, else with the name."""

SOURCE_SUFFIXES = frozenset(
    {".py", ".pyi", ".js", ".ts", ".tsx", ".jsx", ".go", ".rs", ".java", ".kt", ".rb", ".php", ".c", ".h"}
    | {".cc", ".cpp", ".hpp", ".cs", ".swift", ".scala", ".md", ".rst"}
)
"""A module that is *called* credentials is code: the content rules still hold for it."""

CONTENTS: tuple[tuple[bytes, re.Pattern[bytes], str], ...] = (
    (
        b"PRIVATE KEY",
        re.compile(
            rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            rb"(?:\\n|\\r|[\s\"'#*/+,;])[^-]{0,400}?[A-Za-z0-9+/=]{40}"
        ),
        "a private key",
    ),
    (
        b"AKIA",
        re.compile(rb"(?<![A-Za-z0-9/+])AKIA(?![A-Z0-9]{9}EXAMPLE)[A-Z2-7]{16}(?![A-Za-z0-9/+])"),
        "an AWS key",
    ),
    (
        b"ASIA",
        re.compile(rb"(?<![A-Za-z0-9/+])ASIA(?![A-Z0-9]{9}EXAMPLE)[A-Z2-7]{16}(?![A-Za-z0-9/+])"),
        "an AWS key",
    ),
    (b"gh", re.compile(rb"(?<![A-Za-z0-9_])gh[pousr]_[A-Za-z0-9]{36}(?![A-Za-z0-9])"), "a GitHub token"),
    (b"github_pat_", re.compile(rb"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"), "a GitHub token"),
    (b"glpat-", re.compile(rb"(?<![A-Za-z0-9_])glpat-[A-Za-z0-9_-]{20}(?![A-Za-z0-9_-])"), "a GitLab token"),
    (b"xox", re.compile(rb"(?<![A-Za-z0-9])xox[baprs]-[0-9]{10,13}-[0-9A-Za-z-]{20,}"), "a Slack token"),
    (b"AIza", re.compile(rb"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"), "a Google API key"),
    (b"sk_live_", re.compile(rb"(?<![A-Za-z0-9_])sk_live_[A-Za-z0-9]{24}"), "a Stripe key"),
    (b"sk-ant-", re.compile(rb"sk-ant-[a-z0-9]{3,8}-[A-Za-z0-9_-]{80}"), "an API key"),
    (b"npm_", re.compile(rb"(?<![A-Za-z0-9_])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"), "an npm token"),
    (b"pypi-AgE", re.compile(rb"pypi-AgE[A-Za-z0-9_-]{50}"), "a PyPI token"),
)
"""(literal that must occur, pattern, what it is). The literal is looked for first: it is much cheaper."""


_ANY = re.compile("|".join(translate("*/" + pattern) for pattern, _ in NAMES))


def rules_version() -> str:
    """Another text for other rules."""
    contents = [(literal, pattern.pattern) for literal, pattern, _ in CONTENTS]
    rules = repr((NAMES, sorted(SOURCE_SUFFIXES), contents))
    return hashlib.blake2b(rules.encode(), digest_size=8).hexdigest()


def named_secret(path: str) -> str:
    """What kind of secret a file is by its name; empty where it is none."""
    lowered = path.lower()
    name = lowered.rpartition("/")[2]
    if not _ANY.match("/" + lowered):
        return ""
    for pattern, what in NAMES:
        if "/" in pattern:
            if fnmatchcase("/" + lowered, "*/" + pattern):
                return what
        elif fnmatchcase(name, pattern) and not (
            pattern.startswith("credentials") and PurePosixPath(name).suffix in SOURCE_SUFFIXES
        ):
            return what
    return ""


def content_secret(data: bytes) -> str:
    """What kind of secret a file holds; empty where none is recognised."""
    for literal, pattern, what in CONTENTS:
        if literal in data and pattern.search(data):
            return what
    return ""
