"""Files that are left out by their names, and those whose values stand without quotes."""

from __future__ import annotations

import pytest

from glm_lsp.core.secrets.scan import find
from glm_lsp.workspace.secrets import named_secret

SECRETS = """
.env .env-prod .env_old .env~ .env2 .env.bak
.envrc .envrc.local .flaskenv .dotenv env env.production env.local
prod.env prod.env.bak secret.yaml secret.yml secrets.prod.yaml secret.json .vault-token .vault-password
vault-pass.txt .dockerconfigjson registry.dockerconfigjson local.settings.json wp-config.php
#.env# #server.key# app.env.local backend.env.prod .envs/.production/.django env-prod env_staging
id_rsa.bak server.key~ credentials.json.old x/terraform.tfstate.20260101 .npmrc.orig
"""
OTHERS = """
env.py env.ts env.d.ts vite.env.d.ts env.dev.ts env.development.ts environment.py .envelope src/env/x.py
.env.py .env.d.ts .env.js credentials.d.ts.map credentials.js.map #env.py#
.envs/readme.md env-vars app.env.local.ts app.env.md env-prod.py
secrets.py secret.ts vault_pass.py vault.py wp-config-sample.php a.py~ a.py.bak README.old npmrc.5 monkey
"""


@pytest.mark.parametrize("path", SECRETS.split())
def test_a_file_named_like_a_secret_is_left_out(path: str) -> None:
    assert named_secret(path)
    assert named_secret("deep/" + path.upper())


@pytest.mark.parametrize("path", OTHERS.split())
def test_a_file_with_another_name_is_not(path: str) -> None:
    assert not named_secret(path)


PLAIN = """
app.conf app.conf.bak app.ini~ config.yml.orig settings.properties.template .tool app.local app.production
"""


@pytest.mark.parametrize("path", PLAIN.split())
def test_values_without_quotes_are_held_back_where_files_have_them(path: str) -> None:
    data = b"name=app\ndb_password=Kd93hfLw2x!\n"
    places = find(path, data).places
    assert [data[p.span.start : p.span.end] for p in places] == [b"Kd93hfLw2x!"]
