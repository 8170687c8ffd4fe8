"""What the README shows of `ltx2 serve`, a shell and a Python client: tests run both."""

CURL = r"""
URL=http://127.0.0.1:8000/v2/local
JOB=$(curl -s $URL/run -H 'content-type: application/json' \
  -d '{"input": {"prompt": "Rain on a roof", "seed": 7}}' | sed 's/.*"id": *"\([^"]*\)".*/\1/')
until curl -s $URL/status/$JOB | tee job.json | grep -qE '"(COMPLETED|FAILED|TIMED_OUT)"'; do
  sleep 1
done
sed 's/.*"video": *"\([^"]*\)".*/\1/' job.json | base64 -d > rain.mp4
"""

PYTHON = r"""
import base64, pathlib, runpod

runpod.endpoint_url_base = "http://127.0.0.1:8000/v2"  # leave it out for the cloud
endpoint = runpod.Endpoint("local", api_key="your key")
job = endpoint.run({"prompt": "Rain on a roof", "seed": 7})
result = job.output(timeout=600)  # waits; job.cancel() stops it
pathlib.Path("rain.mp4").write_bytes(base64.b64decode(result["video"]))
"""

PLACE = "http://127.0.0.1:8000/v2"  # what a test puts its own server in for
