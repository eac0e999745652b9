package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

var deltaName = regexp.MustCompile(`-\d{6}$`)

// chain is one virtual disk with its snapshots. files[i] belongs to snapshots[i], the last one to the running VM.
// Each file holds the whole content, where a real delta holds what changed: nobody reads a delta by itself.
type chain struct {
	files     []string // datastore paths of descriptors
	snapshots []types.ManagedObjectReference
	next      int              // number of the next delta
	uuid      string           // of its change tracking
	maps      map[int][]uint64 // change id -> hash of each block, 0: zeros
}

func chainKey(vm types.ManagedObjectReference, device int32) string {
	return fmt.Sprint(vm.Value, "/", device)
}

// chain is made of its file when it is first asked for. The caller holds the lock.
func (l *Lab) chain(vm types.ManagedObjectReference, device int32, file string) *chain {
	key := chainKey(vm, device)
	if l.disks[key] == nil {
		l.disks[key] = &chain{files: []string{file}}
	}
	return l.disks[key]
}

func (l *Lab) path(name string) string {
	var p object.DatastorePath
	if !p.FromString(name) || p.Datastore != l.cfg.Datastore {
		return ""
	}
	return filepath.Join(l.datastore(), p.Path)
}

// eachDisk visits the disks that the lab made.
func eachDisk(devices []types.BaseVirtualDevice, visit func(*types.VirtualDisk, *types.VirtualDiskFlatVer2BackingInfo)) {
	for _, d := range devices {
		if disk, ok := d.(*types.VirtualDisk); ok {
			if b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				visit(disk, b)
			}
		}
	}
}

// setFile lets a device point at another file; devices are copied, since the simulator hands out references.
func setFile(devices []types.BaseVirtualDevice, key int32, file, parent string) []types.BaseVirtualDevice {
	changed := append([]types.BaseVirtualDevice(nil), devices...)
	for i, d := range changed {
		if disk, ok := d.(*types.VirtualDisk); ok && disk.Key == key {
			newDisk, backing := *disk, *disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			backing.FileName, backing.Parent = file, nil
			if parent != "" {
				below := backing
				below.FileName, below.ChangeId = parent, ""
				backing.Parent = &below
			}
			newDisk.Backing = &backing
			changed[i] = &newDisk
		}
	}
	return changed
}

// freeze is called when a snapshot comes to be: it keeps each disk's file, and the VM goes on in a new delta.
func (l *Lab) freeze(s *simulator.VirtualMachineSnapshot) error {
	vm := l.vm(s.Vm)
	devices, err := l.addDeltas(s, vm.Config.Hardware.Device)
	l.reg.Update(l.someone(), vm, []types.PropertyChange{{Name: "config.hardware.device", Val: devices}})
	l.stamp(&vm.VirtualMachine)
	return err
}

func (l *Lab) addDeltas(s *simulator.VirtualMachineSnapshot, devices []types.BaseVirtualDevice) ([]types.BaseVirtualDevice, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tracking := s.Config.ChangeTrackingEnabled != nil && *s.Config.ChangeTrackingEnabled
	var failed error
	eachDisk(s.Config.Hardware.Device, func(d *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) {
		if strings.HasPrefix(b.DiskMode, "independent") {
			return // left out of snapshots
		}
		c := l.chain(s.Vm, d.Key, b.FileName)
		c.next++
		live := c.files[len(c.files)-1]
		delta := fmt.Sprintf("%s-%06d.vmdk", strings.TrimSuffix(c.files[0], ".vmdk"), c.next)
		hashes, err := copyHash(rawOf(l.path(live)), rawOf(l.path(delta)))
		if err == nil {
			err = writeDescriptor(rawOf(l.path(delta)), live)
		}
		failed = errors.Join(failed, err)
		c.files, c.snapshots = append(c.files, delta), append(c.snapshots, s.Self)
		devices = setFile(devices, d.Key, delta, live)
		if tracking {
			b.ChangeId = c.record(hashes)
		}
	})
	return devices, failed
}

// consolidate merges a snapshot that goes away into the file above it, which takes over its name.
func (l *Lab) consolidate(s *simulator.VirtualMachineSnapshot) error {
	vm := l.vm(s.Vm)
	if vm == nil {
		return nil // goes away with its VM
	}
	devices, err := l.mergeDeltas(s, vm.Config.Hardware.Device)
	l.reg.Update(l.someone(), vm, []types.PropertyChange{{Name: "config.hardware.device", Val: devices}})
	return err
}

func (l *Lab) mergeDeltas(s *simulator.VirtualMachineSnapshot, devices []types.BaseVirtualDevice) ([]types.BaseVirtualDevice, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var failed error
	eachDisk(s.Config.Hardware.Device, func(d *types.VirtualDisk, _ *types.VirtualDiskFlatVer2BackingInfo) {
		c := l.disks[chainKey(s.Vm, d.Key)]
		at := -1
		for i := 0; c != nil && i < len(c.snapshots); i++ {
			if c.snapshots[i] == s.Self {
				at = i
			}
		}
		if at < 0 {
			return
		}
		kept, gone := c.files[at], c.files[at+1]
		failed = errors.Join(failed, os.Rename(rawOf(l.path(gone)), rawOf(l.path(kept))), os.Remove(l.path(gone)))
		c.files = append(c.files[:at+1:at+1], c.files[at+2:]...)
		c.snapshots = append(c.snapshots[:at:at], c.snapshots[at+1:]...)
		parent := ""
		if at > 0 {
			parent = c.files[at-1]
		}
		if at == len(c.snapshots) {
			devices = setFile(devices, d.Key, kept, parent)
		} else if above, ok := l.reg.Get(c.snapshots[at]).(*simulator.VirtualMachineSnapshot); ok {
			above.Config.Hardware.Device = setFile(above.Config.Hardware.Device, d.Key, kept, parent)
		}
	})
	return devices, failed
}
