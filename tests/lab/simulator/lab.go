package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Lab is one extra managed object of the simulator. Calls that the simulator lacks, or answers too kindly, are sent to
// it by rewriting their receiver (see Handle); the methods named as in the vSphere API are found by reflection. It is
// also an observer of the registry, to fill in what a VM's power state and snapshots change.
type Lab struct {
	mo.ServiceManager // the simulator expects every object to embed one of mo's types

	cfg     Config
	model   *simulator.Model
	reg     *simulator.Registry
	client  *vim25.Client
	finder  *find.Finder
	exports *exports
	faults  faults

	mu       sync.Mutex // never held while taking an object's lock
	settings settings
	denied   map[string]bool      // privileges taken away
	calls    map[string]int       // by method
	sessions map[string]time.Time // cookies that were good then
	machines map[types.ManagedObjectReference]*machine
	leases   map[string]*Lease
	disks    map[string]*chain // by VM and device key
}

// settings are the switches of the control API; a clear sets them back.
type settings struct {
	ExportMode     string // chunked | length | close: how the body of an export ends
	LeaseHost      string // host | vcenter | star: the address in a lease's URLs
	Lenient        bool   // the files of a running VM can be read
	Busy           bool   // something else holds the files open
	AnnounceRanges bool   // /folder knows byte ranges
	UnescapeOnce   bool   // /folder takes dcPath and dsName as HTTP unescapes them
	RangeLie       string // "" | other (range) | total (size) | less (than asked) | all (of the file, as 200)
	DatastoreType  string // as the datastore says: VMFS, NFS, vsan, ...
	TrackingLie    string // "" | overlap | outside | backwards | stuck | half (of the areas is left out)
	MaxAreas       int    // extents in one answer of QueryChangedDiskAreas
}

var defaults = settings{ExportMode: "chunked", LeaseHost: "host", AnnounceRanges: true, DatastoreType: "VMFS",
	MaxAreas: 2000}

// Lock and Unlock opt out of the simulator's lock around a call: the Lab guards itself.
func (l *Lab) Lock()   {}
func (l *Lab) Unlock() {}

func newLab(ctx context.Context, cfg Config, model *simulator.Model) (*Lab, error) {
	l := &Lab{cfg: cfg, model: model, reg: model.Map(), settings: defaults, denied: map[string]bool{}, calls: map[string]int{}, sessions: map[string]time.Time{},
		machines: map[types.ManagedObjectReference]*machine{}, leases: map[string]*Lease{}, disks: map[string]*chain{}}
	l.Self = types.ManagedObjectReference{Type: "Lab", Value: "lab"}
	l.exports = &exports{dir: filepath.Join(cfg.Directory, "exports"), files: map[string]*export{},
		contents: map[string]*export{}}
	for _, dir := range []string{l.exports.dir, l.datastore()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	l.reg.Put(l)
	l.reg.AddHandler(l)
	l.reg.Handler = l.Handle
	if cfg.SessionIdle > 0 {
		setIdle(l.reg, cfg.SessionIdle)
	}
	var err error
	if l.client, err = vim25.NewClient(ctx, model.Service); err != nil {
		return nil, err
	}
	l.finder = find.NewFinder(l.client, false)
	dc, err := l.finder.Datacenter(ctx, "DC0")
	if err != nil {
		return nil, err
	}
	if err := l.place(ctx, dc); err != nil {
		return nil, err
	}
	l.finder.SetDatacenter(dc)
	hosts, err := l.finder.HostSystemList(ctx, "*/*")
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		system, err := h.ConfigManager().DatastoreSystem(ctx)
		if err != nil {
			return nil, err
		}
		if _, err = system.CreateLocalDatastore(ctx, cfg.Datastore, l.datastore()); err != nil {
			return nil, err
		}
	}
	l.applySettings()
	return l, nil
}

// place gives the datacenter its name and the folders above it: Datacenter is its path, as dcPath has it.
func (l *Lab) place(ctx context.Context, dc *object.Datacenter) error {
	names := strings.Split(l.cfg.Datacenter, "/")
	above := object.NewRootFolder(l.client)
	for _, name := range names[:len(names)-1] {
		folder, err := above.CreateFolder(ctx, name)
		if err != nil {
			return err
		}
		above = folder
	}
	change := func(task *object.Task, err error) error {
		if err != nil {
			return err
		}
		return task.Wait(ctx)
	}
	if len(names) > 1 {
		if err := change(above.MoveInto(ctx, []types.ManagedObjectReference{dc.Reference()})); err != nil {
			return err
		}
	}
	if name := names[len(names)-1]; name != dc.Name() {
		if err := change(dc.Rename(ctx, name)); err != nil {
			return err
		}
	}
	dc.SetInventoryPath("/" + l.cfg.Datacenter)
	return nil
}

// applySettings carries a switch over to the simulator's own objects.
func (l *Lab) applySettings() {
	kind := l.get().DatastoreType
	for _, e := range l.reg.All("Datastore") {
		if ds, ok := e.(*simulator.Datastore); ok && ds.Name == l.cfg.Datastore {
			as := l.someone()
			as.WithLock(ds, func() { as.Update(ds, []types.PropertyChange{{Name: "summary.type", Val: kind}}) })
		}
	}
}

func (l *Lab) datastore() string { return filepath.Join(l.cfg.Directory, "datastore") }

// someone is a context for what another administrator does.
func (l *Lab) someone() *simulator.Context {
	session := &simulator.Session{Registry: simulator.NewRegistry(), Map: l.reg}
	session.UserName = `VSPHERE.LOCAL\someone`
	return &simulator.Context{Context: context.Background(), Session: session, Map: l.reg}
}

func (l *Lab) vm(ref types.ManagedObjectReference) *simulator.VirtualMachine {
	vm, _ := l.reg.Get(ref).(*simulator.VirtualMachine)
	return vm
}

func (l *Lab) get() settings {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settings
}

func (l *Lab) machine(ref types.ManagedObjectReference) *machine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.machines[ref]
}

// Handle is simulator.Registry.Handler. It refuses what vCenter would refuse, and sends the calls that Lab answers to
// it: by rewriting This, because a returned handler would be overridden by Session.Get. The body keeps the receiver.
func (l *Lab) Handle(ctx *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if ctx.Session == nil {
		return nil, refuseStranger(m)
	}
	if ctx.Session.UserName != "" { // the lab's own in-process client has no name
		l.mu.Lock()
		l.calls[m.Name]++
		l.mu.Unlock()
		l.faults.wait(m.Name)
	}
	if fault := l.refuseUnprivileged(ctx, m); fault != nil {
		return nil, fault
	}
	if l.faults.task(m.Name) {
		m.This = l.Self
		return l, nil
	}
	switch m.Name {
	case "ExportVm", "ExportSnapshot", "QueryChangedDiskAreas", "ShutdownGuest",
		"HasPrivilegeOnEntities", "HasPrivilegeOnEntity", "HasUserPrivilegeOnEntities", "FetchUserPrivilegeOnEntities":
		m.This = l.Self
		return l, nil
	case "PowerOnVM_Task":
		if l.openLeases(m.This) > 0 {
			m.This = l.Self
			return l, nil
		}
	case "ReconfigVM_Task":
		l.annotate(ctx, m)
	}
	return nil, nil
}

// refuseStranger closes what the simulator leaves open without a session: reading properties.
func refuseStranger(m *simulator.Method) types.BaseMethodFault {
	var objects []types.ManagedObjectReference
	var specs []types.PropertyFilterSpec
	switch body := m.Body.(type) {
	case *types.RetrieveProperties:
		specs = body.SpecSet
	case *types.RetrievePropertiesEx:
		specs = body.SpecSet
	default:
		if m.Name == "Fetch" { // its type is internal to the simulator
			objects = append(objects, reflect.ValueOf(body).Elem().FieldByName("This").Interface().(types.ManagedObjectReference))
		}
	}
	for _, spec := range specs {
		for _, o := range spec.ObjectSet {
			objects = append(objects, o.Obj)
		}
	}
	for _, o := range objects {
		if o != vim25.ServiceInstance {
			return &types.NotAuthenticated{NoPermission: types.NoPermission{Object: &o, PrivilegeId: "System.View"}}
		}
	}
	return nil
}

// PutObject, UpdateObject and RemoveObject observe the registry (simulator.RegisterObject).
func (l *Lab) PutObject(_ *simulator.Context, o mo.Reference) {
	switch x := o.(type) {
	case *simulator.VirtualMachine: // pyVmomi refuses the empty enums that the simulator would send
		x.Runtime.FaultToleranceState = types.VirtualMachineFaultToleranceStateNotConfigured
		x.Runtime.RecordReplayState = types.VirtualMachineRecordReplayStateInactive
		x.GuestHeartbeatStatus = types.ManagedEntityStatusGray
	case *simulator.VirtualMachineSnapshot:
		if err := l.freeze(x); err != nil {
			log.Print(fmt.Errorf("snapshot %s: %w", x.Self.Value, err))
		}
	}
}

func (l *Lab) UpdateObject(ctx *simulator.Context, o mo.Reference, changes []types.PropertyChange) {
	if vm, ok := o.(*mo.VirtualMachine); ok {
		for _, c := range changes {
			if c.Name == "runtime.powerState" {
				l.powerChanged(ctx, vm)
			}
		}
	}
}

func (l *Lab) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) {
	if s, ok := l.reg.Get(ref).(*simulator.VirtualMachineSnapshot); ok {
		if err := l.consolidate(s); err != nil {
			log.Print(fmt.Errorf("removal of snapshot %s: %w", ref.Value, err))
		}
	}
}
