package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	block    = 64 << 10 // granularity of change tracking
	seekData = 3        // lseek(2)
	seekHole = 4
)

var hashSeed = maphash.MakeSeed()

// record keeps the state of a disk and gives its change id. Without hashes only the id is kept.
func (c *chain) record(hashes []uint64) string {
	if c.uuid == "" {
		c.uuid, c.maps = uuid.NewString(), map[int][]uint64{}
	}
	n := len(c.maps) + 1
	c.maps[n] = hashes
	return fmt.Sprintf("%s/%d", c.uuid, n)
}

// recorded finds the state of a disk by its change id.
func (c *chain) recorded(id string) ([]uint64, bool) {
	number, ok := strings.CutPrefix(id, c.uuid+"/")
	n, err := strconv.Atoi(number)
	if !ok || err != nil {
		return nil, false
	}
	m, ok := c.maps[n]
	return m, ok
}

// copyHash copies sparsely and gives the block hashes; without a destination it only hashes.
func copyHash(src, dst string) (hashes []uint64, err error) {
	in, err := os.Open(src)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return nil, err
	}
	var out *os.File
	if dst != "" {
		if out, err = os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, out.Close()) }()
		if err = out.Truncate(st.Size()); err != nil {
			return nil, err
		}
	}
	buf, zero := make([]byte, block), make([]byte, block)
	for off := int64(0); off < st.Size(); off += block {
		n, err := in.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if bytes.Equal(buf[:n], zero[:n]) {
			hashes = append(hashes, 0)
			continue
		}
		if out != nil {
			if _, err = out.WriteAt(buf[:n], off); err != nil {
				return nil, err
			}
		}
		hashes = append(hashes, maphash.Bytes(hashSeed, buf[:n])|1)
	}
	return hashes, nil
}

// QueryChangedDiskAreas compares a snapshot, or without one the disk of a powered-off VM, with an earlier change id.
func (l *Lab) QueryChangedDiskAreas(_ *simulator.Context, r *types.QueryChangedDiskAreas) soap.HasFault {
	body := new(methods.QueryChangedDiskAreasBody)
	info, fault := l.changedAreas(r)
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
	} else {
		lie(info, l.get().TrackingLie)
		body.Res = &types.QueryChangedDiskAreasResponse{Returnval: *info}
	}
	return body
}

func (l *Lab) changedAreas(r *types.QueryChangedDiskAreas) (*types.DiskChangeInfo, types.BaseMethodFault) {
	vm := l.vm(r.This)
	if vm == nil {
		return nil, &types.ManagedObjectNotFound{Obj: r.This}
	}
	config := *vm.Config
	if r.Snapshot != nil {
		s, ok := l.reg.Get(*r.Snapshot).(*simulator.VirtualMachineSnapshot)
		if !ok {
			return nil, &types.ManagedObjectNotFound{Obj: *r.Snapshot}
		}
		config = s.Config
	}
	off := &types.FileFault{File: fmt.Sprintf("no change tracking for device %d", r.DeviceKey)}
	if config.ChangeTrackingEnabled == nil || !*config.ChangeTrackingEnabled ||
		(r.Snapshot == nil && vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff) {
		return nil, off
	}
	var file, id string
	size := int64(-1)
	eachDisk(config.Hardware.Device, func(d *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) {
		if d.Key == r.DeviceKey {
			file, id, size = b.FileName, b.ChangeId, d.CapacityInBytes
		}
	})
	if size < 0 || r.StartOffset < 0 || r.StartOffset >= size {
		return nil, &types.InvalidArgument{InvalidProperty: "startOffset"}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.chain(vm.Self, r.DeviceKey, file)
	var now, was []uint64 // was stays empty for "*" of a snapshot, and for a state that is known by its id only
	var ok bool
	if r.Snapshot == nil {
		var err error
		if r.ChangeId == "*" {
			var info *types.DiskChangeInfo
			if info, err = allocated(rawOf(l.path(file)), r.StartOffset, size, l.settings.MaxAreas); err == nil {
				return info, nil
			}
			return nil, &types.FileFault{File: err.Error()}
		}
		if now, err = copyHash(rawOf(l.path(file)), ""); err != nil {
			return nil, &types.FileFault{File: err.Error()}
		}
	} else if now, ok = c.recorded(id); !ok {
		return nil, off
	}
	if r.ChangeId != "*" {
		if was, ok = c.recorded(r.ChangeId); !ok {
			return nil, &types.InvalidArgument{InvalidProperty: "changeId"}
		}
	}
	return areas(now, was, r.StartOffset, size, l.settings.MaxAreas), nil
}

// areas lists where two states differ, from an offset on, at most limit of them: the client asks again from the end.
func areas(now, was []uint64, start, size int64, limit int) *types.DiskChangeInfo {
	info := &types.DiskChangeInfo{StartOffset: start}
	end := size
	for i := start / block; i < int64(len(now)); i++ {
		if i < int64(len(was)) && now[i] == was[i] || i >= int64(len(was)) && now[i] == 0 {
			continue
		}
		from := max(i*block, start)
		length := min((i+1)*block, size) - from
		if k := len(info.ChangedArea) - 1; k >= 0 && info.ChangedArea[k].Start+info.ChangedArea[k].Length == from {
			info.ChangedArea[k].Length += length
			continue
		}
		if len(info.ChangedArea) == limit {
			end = from
			break
		}
		info.ChangedArea = append(info.ChangedArea, types.DiskChangeExtent{Start: from, Length: length})
	}
	info.Length = end - start
	return info
}

// allocated lists what the file system keeps of a file, in whole blocks, from an offset on: at most limit areas.
func allocated(raw string, start, size int64, limit int) (*types.DiskChangeInfo, error) {
	file, err := os.Open(raw)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info := &types.DiskChangeInfo{StartOffset: start, Length: size - start}
	for at := start; at < size; {
		from, err := file.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			break
		}
		if err != nil {
			return nil, err
		}
		to, err := file.Seek(from, seekHole)
		if err != nil {
			return nil, err
		}
		from, to = max(from/block*block, start), min((to+block-1)/block*block, size)
		at = to
		if k := len(info.ChangedArea) - 1; k >= 0 && info.ChangedArea[k].Start+info.ChangedArea[k].Length >= from {
			info.ChangedArea[k].Length = to - info.ChangedArea[k].Start
			continue
		}
		if len(info.ChangedArea) == limit {
			info.Length = from - start
			break
		}
		info.ChangedArea = append(info.ChangedArea, types.DiskChangeExtent{Start: from, Length: to - from})
	}
	return info, nil
}

// lie spoils an answer, as settings.TrackingLie says.
func lie(info *types.DiskChangeInfo, how string) {
	n := len(info.ChangedArea)
	if n == 0 {
		return
	}
	last := &info.ChangedArea[n-1]
	switch how {
	case "overlap":
		info.ChangedArea = append(info.ChangedArea, types.DiskChangeExtent{Start: last.Start + last.Length/2, Length: last.Length / 2})
	case "outside":
		last.Length = info.StartOffset + info.Length - last.Start + block
	case "backwards":
		slices.Reverse(info.ChangedArea)
	case "stuck":
		info.Length = 0
	case "half":
		info.ChangedArea = info.ChangedArea[:(n+1)/2]
	}
}

// stamp gives each tracked disk the change id of the state that begins now.
func (l *Lab) stamp(vm *mo.VirtualMachine) {
	if vm.Config == nil || vm.Config.ChangeTrackingEnabled == nil || !*vm.Config.ChangeTrackingEnabled {
		return
	}
	l.mu.Lock()
	devices := append([]types.BaseVirtualDevice(nil), vm.Config.Hardware.Device...)
	eachDisk(devices, func(d *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) {
		if strings.HasPrefix(b.DiskMode, "independent") {
			return
		}
		newDisk, backing := *d, *b
		backing.ChangeId = l.chain(vm.Self, d.Key, b.FileName).record(nil)
		newDisk.Backing = &backing
		for i := range devices {
			if devices[i] == types.BaseVirtualDevice(d) {
				devices[i] = &newDisk
			}
		}
	})
	l.mu.Unlock()
	l.reg.Update(l.someone(), vm, []types.PropertyChange{{Name: "config.hardware.device", Val: devices}})
}
