"""VMware vSphere as a source: a vCenter or an ESXi host, through SOAP (pyVmomi); its disks through export leases, the
datastore's files, or nbdkit.
"""
