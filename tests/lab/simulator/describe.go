package main

import (
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// The control API's view of a VM, read from the simulator.
type vmView struct {
	ID             string            `json:"id"`
	Name           string            `json:"name"` // of the inventory, escaped as vCenter does
	UUID           string            `json:"uuid"`
	InstanceUUID   string            `json:"instance_uuid"`
	PowerState     string            `json:"power_state"`
	BootTime       *time.Time        `json:"boot_time"`
	Annotation     string            `json:"annotation"`
	ChangeTracking bool              `json:"change_tracking"`
	Snapshots      []snapshotView    `json:"snapshots"`
	ExtraConfig    map[string]string `json:"extra_config"`
	Disks          []diskView        `json:"disks"`
	MACs           []string          `json:"macs"`
	Guest          guestView         `json:"guest"`
	OpenLeases     int               `json:"open_leases"`
}

type snapshotView struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type diskView struct {
	Key      int32  `json:"key"`
	Label    string `json:"label"`
	File     string `json:"file"` // datastore path
	Path     string `json:"path"` // raw content, on this machine
	Capacity int64  `json:"capacity"`
}

type guestView struct {
	State    string `json:"state"`
	Tools    string `json:"tools"`
	Hostname string `json:"hostname"`
	Address  string `json:"address"`
}

// list gives the names of the VMs by their id.
func (l *Lab) list() map[string]string {
	names := map[string]string{}
	for _, e := range l.reg.All("VirtualMachine") {
		names[e.Reference().Value] = e.Entity().Name
	}
	return names
}

// describe finds a VM by its id, its name as given, or its name in the inventory.
func (l *Lab) describe(key string) (*vmView, error) {
	for id, name := range l.list() {
		if key == id || key == name || escapes.Replace(key) == name {
			return l.view(types.ManagedObjectReference{Type: "VirtualMachine", Value: id}), nil
		}
	}
	return nil, errNoVM
}

func (l *Lab) view(ref types.ManagedObjectReference) *vmView {
	as, vm := l.someone(), l.vm(ref)
	v := &vmView{ID: ref.Value, Snapshots: []snapshotView{}, ExtraConfig: map[string]string{}, Disks: []diskView{},
		MACs: []string{}, OpenLeases: l.openLeases(ref)}
	as.WithLock(vm, func() {
		v.Name, v.UUID, v.InstanceUUID = vm.Name, vm.Config.Uuid, vm.Config.InstanceUuid
		v.PowerState, v.BootTime, v.Annotation = string(vm.Runtime.PowerState), vm.Runtime.BootTime, vm.Config.Annotation
		v.ChangeTracking = vm.Config.ChangeTrackingEnabled != nil && *vm.Config.ChangeTrackingEnabled
		v.Guest = guestView{vm.Guest.GuestState, vm.Guest.ToolsRunningStatus, vm.Guest.HostName, vm.Guest.IpAddress}
		for _, o := range vm.Config.ExtraConfig {
			if text, ok := o.GetOptionValue().Value.(string); ok {
				v.ExtraConfig[o.GetOptionValue().Key] = text
			}
		}
		if vm.Snapshot != nil {
			v.Snapshots = snapshotViews(vm.Snapshot.RootSnapshotList, v.Snapshots)
		}
		for _, d := range vm.Config.Hardware.Device {
			if card, ok := d.(types.BaseVirtualEthernetCard); ok {
				v.MACs = append(v.MACs, card.GetVirtualEthernetCard().MacAddress)
			}
		}
		eachDisk(vm.Config.Hardware.Device, func(d *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) {
			label := ""
			if d.DeviceInfo != nil {
				label = d.DeviceInfo.GetDescription().Label
			}
			v.Disks = append(v.Disks, diskView{d.Key, label, b.FileName, rawOf(l.path(b.FileName)), d.CapacityInBytes})
		})
	})
	return v
}

func snapshotViews(tree []types.VirtualMachineSnapshotTree, found []snapshotView) []snapshotView {
	for _, t := range tree {
		found = snapshotViews(t.ChildSnapshotList, append(found, snapshotView{t.Snapshot.Value, t.Name}))
	}
	return found
}
