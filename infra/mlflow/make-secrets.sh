#!/bin/sh
# Make the passwords of the MLflow server, once: infra/mlflow/make-secrets.sh [FOLDER]
# FOLDER (secrets/ beside this file) is closed to other users; the files in it are not, since each container
# reads its own under a user of its own.
set -eu
folder=${1:-$(dirname "$0")/secrets}
if [ -e "$folder/mlflow_environment" ]; then
    echo "$folder has passwords already; new ones would lock you out of what is stored" >&2
    exit 1
fi
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
mkdir -p "$folder"
chmod 700 "$folder"
umask 022
postgres=$(random) key=$(random)
printf %s "$postgres" >"$folder/postgres_password"
# The server is MLflow's alone; who may administer it makes the bucket by the first file.
cat >"$folder/objects_identities" <<END
{"identities": [{"name": "mlflow", "credentials": [{"accessKey": "mlflow", "secretKey": "$key"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
END
cat >"$folder/mlflow_environment" <<END
PGPASSWORD=$postgres
AWS_ACCESS_KEY_ID=mlflow
AWS_SECRET_ACCESS_KEY=$key
MLFLOW_AUTH_ADMIN_PASSWORD=$(random)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(random)
END
echo "$folder: postgres_password, objects_identities, mlflow_environment"
