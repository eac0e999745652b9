package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// VMSpec is a VM as the control API describes it.
type VMSpec struct {
	Name        string     `json:"name"`
	Folder      string     `json:"folder"` // in the datastore; empty: named after the VM
	Disks       []DiskSpec `json:"disks"`
	NICs        []NICSpec  `json:"nics"`
	On          bool       `json:"on"`
	Tools       bool       `json:"tools"`
	Hostname    string     `json:"hostname"`
	GuestID     string     `json:"guest_id"`
	Firmware    string     `json:"firmware"`
	CPUs        int32      `json:"cpus"`
	MemoryMiB   int64      `json:"memory_mib"`
	Annotation  string     `json:"annotation"`
	Shutdown    string     `json:"shutdown"` // ok | hangs
	Snapshots   int        `json:"snapshots"`
	ChangeTrack bool       `json:"change_tracking"`
	CPUHotAdd   bool       `json:"cpu_hot_add"`
	CPUShares   int32      `json:"cpu_shares"`       // 0: normal
	CPULimit    int64      `json:"cpu_limit_mhz"`    // 0: none
	MemoryLimit int64      `json:"memory_limit_mib"` // 0: none

	MemoryHotAdd      bool  `json:"memory_hot_add"`
	CPUReservation    int64 `json:"cpu_reservation_mhz"`
	MemoryReservation int64 `json:"memory_reservation_mib"`

	Oddities
}

// DiskSpec names a raw file, which the lab takes over.
type DiskSpec struct {
	Path        string `json:"path"`
	Mode        string `json:"mode"` // persistent | independent_persistent | ...
	Thin        bool   `json:"thin"`
	Bus         int    `json:"bus"`     // the number of its SCSI controller
	Backing     string `json:"backing"` // flat | rdm_virtual | rdm_physical | pmem
	MultiWriter bool   `json:"multi_writer"`
	Encrypted   bool   `json:"encrypted"`
}

type NICSpec struct {
	Network string `json:"network"`
	MAC     string `json:"mac"`
	Slot    int32  `json:"slot"`
	IP      string `json:"ip"`
	Prefix  int32  `json:"prefix"`
	Adapter string `json:"adapter"`
	VLAN    int32  `json:"vlan"` // of the port group, where it is made
}

// machine is what the lab knows of a VM besides the simulator.
type machine struct {
	spec VMSpec
	dir  string // in the datastore
	nics []types.GuestNicInfo
}

var (
	plain   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	escapes = strings.NewReplacer("%", "%25", "/", "%2f", `\`, "%5c")
	vmxText = strings.NewReplacer("|", "|7C", `"`, "|22", "\n", "|0A", "\r", "|0D")
)

// directory picks an unused folder of the datastore: the one that is asked for, or the VM's name where that is harmless.
func (l *Lab) directory(folder, name string) (string, error) {
	if folder != "" {
		return folder, os.Mkdir(filepath.Join(l.datastore(), folder), 0o700)
	}
	name = harmless(name)
	for n := 0; ; n++ {
		dir := name
		if n > 0 {
			dir = fmt.Sprintf("%s_%d", name, n)
		}
		if err := os.Mkdir(filepath.Join(l.datastore(), dir), 0o700); !os.IsExist(err) {
			return dir, err
		}
	}
}

// allocation as vSphere describes it: without a limit it is -1.
func allocation(reservation, limit int64, shares int32) *types.ResourceAllocationInfo {
	if limit == 0 {
		limit = -1
	}
	info := &types.SharesInfo{Level: types.SharesLevelNormal}
	if shares != 0 {
		info = &types.SharesInfo{Level: types.SharesLevelCustom, Shares: shares}
	}
	return &types.ResourceAllocationInfo{Reservation: types.NewInt64(reservation), Limit: types.NewInt64(limit), Shares: info}
}

// harmless is the name, where the simulator can take it.
func harmless(name string) string {
	if plain.MatchString(name) {
		return name
	}
	return "vm-" + uuid.NewString()[:8]
}

// add makes a VM and, when it shall be on, starts it.
func (l *Lab) add(ctx context.Context, v VMSpec) (types.ManagedObjectReference, error) {
	none := types.ManagedObjectReference{}
	dir, err := l.directory(v.Folder, v.Name)
	if err != nil {
		return none, err
	}
	host, err := l.finder.HostSystem(ctx, "*/DC0_C0_H0")
	if err != nil {
		return none, err
	}
	pool, err := host.ResourcePool(ctx)
	if err != nil {
		return none, err
	}
	dc, err := l.finder.DefaultDatacenter(ctx)
	if err != nil {
		return none, err
	}
	folders, err := dc.Folders(ctx)
	if err != nil {
		return none, err
	}
	var devices object.VirtualDeviceList
	bios := uuid.New()
	vmx := newVMX(v, bios)
	if devices, err = l.addDisks(devices, vmx, dir, v.Disks); err != nil {
		return none, err
	}
	m := &machine{spec: v, dir: dir}
	extraConfig := []types.BaseOptionValue{&types.OptionValue{Key: "nvram", Value: dir + ".nvram"}}
	for i, nic := range v.NICs {
		card, err := l.addNIC(ctx, vmx, m, i, nic)
		if err != nil {
			return none, err
		}
		devices = append(devices, card)
		extraConfig = append(extraConfig, &types.OptionValue{Key: fmt.Sprintf("ethernet%d.pciSlotNumber", i), Value: fmt.Sprint(nic.Slot)})
	}
	spec := types.VirtualMachineConfigSpec{
		Name: harmless(dir), GuestId: v.GuestID, Firmware: v.Firmware, NumCPUs: v.CPUs, MemoryMB: v.MemoryMiB, Annotation: v.Annotation,
		Uuid: bios.String(), InstanceUuid: uuid.NewString(), ExtraConfig: extraConfig,
		Files: &types.VirtualMachineFileInfo{VmPathName: fmt.Sprintf("[%s] %s/%s.vmx", l.cfg.Datastore, dir, dir)},
	}
	spec.CpuHotAddEnabled = types.NewBool(v.CPUHotAdd)
	spec.CpuAllocation = allocation(v.CPUReservation, v.CPULimit, v.CPUShares)
	spec.MemoryAllocation = allocation(v.MemoryReservation, v.MemoryLimit, 0)
	spec.MemoryHotAddEnabled = types.NewBool(v.MemoryHotAdd)
	if v.ChangeTrack {
		spec.ChangeTrackingEnabled = types.NewBool(true)
	}
	if spec.DeviceChange, err = devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd); err != nil {
		return none, err
	}
	for _, change := range spec.DeviceChange { // the files exist: attach, don't create
		change.GetVirtualDeviceConfigSpec().FileOperation = ""
	}
	task, err := folders.VmFolder.CreateVM(ctx, spec, pool, host)
	if err != nil {
		return none, err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return none, err
	}
	ref := info.Result.(types.ManagedObjectReference)
	if err := os.WriteFile(filepath.Join(l.datastore(), dir, dir+".vmx"), vmx.bytes(), 0o600); err != nil {
		return none, err
	}
	return ref, l.complete(ctx, ref, m)
}

// complete gives a created VM its real name, its snapshots and its power state.
func (l *Lab) complete(ctx context.Context, ref types.ManagedObjectReference, m *machine) error {
	as, vm := l.someone(), l.vm(ref)
	name := escapes.Replace(m.spec.Name)
	as.WithLock(vm, func() {
		for i, d := range object.VirtualDeviceList(vm.Config.Hardware.Device).SelectByType((*types.VirtualEthernetCard)(nil)) {
			m.nics[i].DeviceConfigId = d.GetVirtualDevice().Key
		}
		as.Update(vm, []types.PropertyChange{{Name: "name", Val: name}, {Name: "config.name", Val: name},
			{Name: "summary.config.name", Val: name}, {Name: "summary.config.annotation", Val: m.spec.Annotation}})
	})
	l.mu.Lock()
	l.machines[ref] = m
	l.mu.Unlock()
	as.WithLock(vm, func() { l.stamp(&vm.VirtualMachine) })
	o := object.NewVirtualMachine(l.client, ref)
	for i := range m.spec.Snapshots {
		task, err := o.CreateSnapshot(ctx, fmt.Sprintf("snapshot %d", i+1), "made by the lab", false, false)
		if err != nil {
			return err
		}
		if err := task.Wait(ctx); err != nil {
			return err
		}
	}
	if m.spec.On {
		if err := l.power(ref, true, true); err != nil {
			return err
		}
	} else {
		as.WithLock(vm, func() { l.powerChanged(as, &vm.VirtualMachine) })
	}
	l.oddities(vm, m.spec)
	return nil
}

func (l *Lab) addDisks(devices object.VirtualDeviceList, vmx *vmxFile, dir string, disks []DiskSpec) (object.VirtualDeviceList, error) {
	controllers := []types.BaseVirtualController{}
	for bus := 0; bus <= lastBus(disks); bus++ {
		scsi, err := devices.CreateSCSIController("pvscsi")
		if err != nil {
			return nil, err
		}
		devices = append(devices, scsi)
		controllers = append(controllers, scsi.(types.BaseVirtualController))
		vmx.controller(bus)
	}
	units := map[int]int32{}
	for i, s := range disks {
		base := fmt.Sprintf("%s_%d", dir, i)
		if i == 0 {
			base = dir
		}
		raw := filepath.Join(l.datastore(), dir, base+"-flat.vmdk")
		if err := os.Rename(s.Path, raw); err != nil {
			return nil, err
		}
		st, err := os.Stat(raw)
		if err != nil {
			return nil, err
		}
		if err := writeDescriptor(raw, ""); err != nil {
			return nil, err
		}
		disk := devices.CreateDisk(controllers[s.Bus], types.ManagedObjectReference{},
			fmt.Sprintf("[%s] %s/%s.vmdk", l.cfg.Datastore, dir, base))
		disk.CapacityInBytes, disk.CapacityInKB = st.Size(), st.Size()/1024
		backing := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		backing.ThinProvisioned, backing.DiskMode, backing.Uuid = types.NewBool(s.Thin), s.Mode, uuid.NewString()
		unit := units[s.Bus]
		if unit == 7 { // the controller's own
			unit++
		}
		units[s.Bus] = unit + 1
		disk.UnitNumber, disk.Key = &unit, 2000+64*int32(s.Bus)+unit
		disk.DeviceInfo = &types.Description{Label: fmt.Sprintf("Hard disk %d", i+1), Summary: fmt.Sprintf("%d KB", st.Size()/1024)}
		devices = append(devices, disk)
		vmx.disk(s.Bus, unit, base+".vmdk")
	}
	return devices, nil
}

func lastBus(disks []DiskSpec) int {
	last := 0
	for _, s := range disks {
		last = max(last, s.Bus)
	}
	return last
}

func (l *Lab) addNIC(ctx context.Context, vmx *vmxFile, m *machine, i int, s NICSpec) (types.BaseVirtualDevice, error) {
	network, err := l.network(ctx, s.Network, s.VLAN)
	if err != nil {
		return nil, err
	}
	backing, err := network.EthernetCardBackingInfo(ctx)
	if err != nil {
		return nil, err
	}
	device, err := object.VirtualDeviceList{}.CreateEthernetCard(s.Adapter, backing)
	if err != nil {
		return nil, err
	}
	card := device.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
	card.AddressType, card.MacAddress = "manual", s.MAC
	if s.MAC == "" {
		card.AddressType, card.MacAddress = "assigned", randomMAC()
	}
	card.Key = int32(4000 + i)
	card.DeviceInfo = &types.Description{Label: fmt.Sprintf("Network adapter %d", i+1), Summary: s.Network}
	card.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: s.Slot}
	vmx.nic(i, s, card.MacAddress)
	nic := types.GuestNicInfo{Network: s.Network, MacAddress: card.MacAddress, Connected: true}
	if s.IP != "" {
		nic.IpAddress = []string{s.IP}
		nic.IpConfig = &types.NetIpConfigInfo{IpAddress: []types.NetIpConfigInfoIpAddress{
			{IpAddress: s.IP, PrefixLength: s.Prefix, Origin: "manual", State: "preferred"}}}
	}
	m.nics = append(m.nics, nic)
	return device, nil
}

// randomMAC is one of those that vCenter assigns.
func randomMAC() string {
	b := make([]byte, 3)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("00:50:56:%02x:%02x:%02x", 0x80|b[0]&0x3f, b[1], b[2])
}

// network finds a network, or makes a port group of that name.
func (l *Lab) network(ctx context.Context, name string, vlan int32) (object.NetworkReference, error) {
	for _, e := range l.reg.All("Network") {
		if e.Entity().Name == name {
			return object.NewNetwork(l.client, e.Reference()), nil
		}
	}
	host, err := l.finder.HostSystem(ctx, "*/DC0_C0_H0")
	if err != nil {
		return nil, err
	}
	system, err := host.ConfigManager().NetworkSystem(ctx)
	if err != nil {
		return nil, err
	}
	if err := system.AddPortGroup(ctx, types.HostPortGroupSpec{Name: name, VlanId: vlan, VswitchName: "vSwitch0"}); err != nil {
		return nil, err
	}
	as, simulated := l.someone(), l.reg.Get(host.Reference()).(*simulator.HostSystem)
	groups := l.reg.Get(system.Reference()).(*simulator.HostNetworkSystem).NetworkInfo.Portgroup
	as.WithLock(simulated, func() { // which has a copy of them
		as.Update(simulated, []types.PropertyChange{{Name: "config.network.portgroup", Val: groups}})
	})
	return l.finder.Network(ctx, name)
}

// annotate mends two things that the simulator's ReconfigVM leaves out: clearing the notes, and their copy in summary.
func (l *Lab) annotate(ctx *simulator.Context, m *simulator.Method) {
	r, vm := m.Body.(*types.ReconfigVM_Task), l.vm(m.This)
	if vm == nil || r.Spec.Annotation == "" {
		return
	}
	if r.Spec.Annotation == emptyAnnotation {
		r.Spec.Annotation = ""
	}
	text := r.Spec.Annotation
	ctx.WithLock(vm, func() {
		ctx.Update(vm, []types.PropertyChange{{Name: "config.annotation", Val: text}, {Name: "summary.config.annotation", Val: text}})
	})
}
