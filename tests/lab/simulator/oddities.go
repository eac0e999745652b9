package main

import (
	"fmt"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Oddities are what is only shown of a VM, and changes nothing that it does.
type Oddities struct {
	BIOSUUID       string   `json:"uuid"` // empty: a new one
	Template       bool     `json:"template"`
	Suspended      bool     `json:"suspended"`
	Encrypted      bool     `json:"encrypted"`
	FaultTolerance bool     `json:"fault_tolerance"`
	SharedBus      bool     `json:"shared_bus"`
	TPM            bool     `json:"tpm"`
	Floppy         bool     `json:"floppy"`
	Passthrough    []string `json:"passthrough"` // pci | vgpu
	Connection     string   `json:"connection"`  // connected | disconnected | inaccessible | invalid | orphaned
}

// oddities gives a VM what a vCenter may show of it and the simulator makes no VM with: encryption, Fault Tolerance,
// devices of the host, disks of other kinds. Its other state is final by then.
func (l *Lab) oddities(vm *simulator.VirtualMachine, spec VMSpec) {
	var changes []types.PropertyChange
	set := func(name string, value any) { changes = append(changes, types.PropertyChange{Name: name, Val: value}) }
	if spec.BIOSUUID != "" {
		set("config.uuid", spec.BIOSUUID)
		set("summary.config.uuid", spec.BIOSUUID)
	}
	if spec.Template {
		set("config.template", true)
		set("summary.config.template", true)
	}
	if spec.Suspended {
		set("runtime.powerState", types.VirtualMachinePowerStateSuspended)
		set("summary.runtime.powerState", types.VirtualMachinePowerStateSuspended)
	}
	if spec.Encrypted {
		set("config.keyId", newKey())
	}
	if spec.FaultTolerance {
		set("runtime.faultToleranceState", types.VirtualMachineFaultToleranceStateRunning)
	}
	set("runtime.connectionState", types.VirtualMachineConnectionState(spec.Connection))
	set("summary.runtime.connectionState", types.VirtualMachineConnectionState(spec.Connection))
	set("config.hardware.device", oddDevices(vm.Config.Hardware.Device, spec))
	as := l.someone()
	as.WithLock(vm, func() { as.Update(vm, changes) })
}

// oddDevices are copies, since the simulator hands out references.
func oddDevices(devices []types.BaseVirtualDevice, spec VMSpec) []types.BaseVirtualDevice {
	changed := append([]types.BaseVirtualDevice(nil), devices...)
	number := 0
	for i, d := range changed {
		switch x := d.(type) {
		case *types.ParaVirtualSCSIController:
			if spec.SharedBus {
				controller := *x
				controller.SharedBus = types.VirtualSCSISharingPhysicalSharing
				changed[i] = &controller
			}
		case *types.VirtualDisk:
			disk := *x
			disk.Backing = oddBacking(*x.Backing.(*types.VirtualDiskFlatVer2BackingInfo), spec.Disks[number])
			changed[i] = &disk
			number++
		}
	}
	if spec.TPM {
		changed = append(changed, &types.VirtualTPM{VirtualDevice: labelled(11000, "Virtual TPM")})
	}
	if spec.Floppy {
		changed = append(changed, &types.VirtualFloppy{VirtualDevice: labelled(8000, "Floppy drive 1")})
	}
	for i, kind := range spec.Passthrough {
		device := labelled(int32(13000+i), fmt.Sprintf("PCI device %d", i))
		device.Backing = passthroughs[kind]
		changed = append(changed, &types.VirtualPCIPassthrough{VirtualDevice: device})
	}
	return changed
}

var passthroughs = map[string]types.BaseVirtualDeviceBackingInfo{
	"pci":  &types.VirtualPCIPassthroughDeviceBackingInfo{Id: "0000:3b:00.0", DeviceId: "1533", VendorId: -32634, SystemId: "host"},
	"vgpu": &types.VirtualPCIPassthroughVmiopBackingInfo{Vgpu: "grid_a100-10c"},
}

func labelled(key int32, label string) types.VirtualDevice {
	return types.VirtualDevice{Key: key, DeviceInfo: &types.Description{Label: label, Summary: label}}
}

func oddBacking(b types.VirtualDiskFlatVer2BackingInfo, spec DiskSpec) types.BaseVirtualDeviceBackingInfo {
	if spec.MultiWriter {
		b.Sharing = string(types.VirtualDiskSharingSharingMultiWriter)
	}
	if spec.Encrypted {
		b.KeyId = newKey()
	}
	switch spec.Backing {
	case "rdm_virtual":
		return rdm(b, types.VirtualDiskCompatibilityModeVirtualMode)
	case "rdm_physical":
		return rdm(b, types.VirtualDiskCompatibilityModePhysicalMode)
	case "pmem":
		return &types.VirtualDiskLocalPMemBackingInfo{VirtualDeviceFileBackingInfo: b.VirtualDeviceFileBackingInfo, DiskMode: b.DiskMode}
	}
	return &b
}

func rdm(b types.VirtualDiskFlatVer2BackingInfo, mode types.VirtualDiskCompatibilityMode) types.BaseVirtualDeviceBackingInfo {
	return &types.VirtualDiskRawDiskMappingVer1BackingInfo{VirtualDeviceFileBackingInfo: b.VirtualDeviceFileBackingInfo,
		LunUuid: "0200000000600508b1001c0000000000", DeviceName: "vml.0200000000600508b1001c", CompatibilityMode: string(mode), DiskMode: b.DiskMode}
}

func newKey() *types.CryptoKeyId {
	return &types.CryptoKeyId{KeyId: uuid.NewString(), ProviderId: &types.KeyProviderId{Id: "lab"}}
}
