"""How it is offered: the `smolflow` command, pools, deployments and automations on a Prefect server, recipes/*.yaml and sites/*.yaml.

Every flow is deployed under the name of its work pool: `playbook/cpu` is the playbook on pool cpu, `train/gpu` the train stage on pool
gpu. Deployments hold no path of any machine; a worker's environment says where the checkout, the site and the interpreter are.
"""
