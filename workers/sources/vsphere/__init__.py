"""VMware vSphere as a source: a vCenter or an ESXi host, through SOAP (pyVmomi) and export leases (HTTPS)."""
