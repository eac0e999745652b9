package main

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// required names the privilege that each call needs, as the vSphere API reference gives it.
var required = map[string]string{
	"ExportVm":                "VApp.Export",
	"ExportSnapshot":          "VApp.Export",
	"PowerOnVM_Task":          "VirtualMachine.Interact.PowerOn",
	"PowerOffVM_Task":         "VirtualMachine.Interact.PowerOff",
	"ShutdownGuest":           "VirtualMachine.Interact.PowerOff",
	"CreateSnapshot_Task":     "VirtualMachine.State.CreateSnapshot",
	"CreateSnapshotEx_Task":   "VirtualMachine.State.CreateSnapshot",
	"RemoveSnapshot_Task":     "VirtualMachine.State.RemoveSnapshot",
	"RemoveAllSnapshots_Task": "VirtualMachine.State.RemoveSnapshot",
	"RevertToSnapshot_Task":   "VirtualMachine.State.RevertToSnapshot",
	"QueryChangedDiskAreas":   "VirtualMachine.Provisioning.DiskRandomRead",
	"QueryEvents":             "System.View",
	"CreateContainerView":     "System.View",
	"RetrieveProperties":      "System.View",
	"RetrievePropertiesEx":    "System.View",
	"SearchDatastore_Task":    "Datastore.Browse",
}

// more privileges that a client may ask about, held unless denied
var extra = []string{"Datastore.Browse", "System.Anonymous", "System.Read", "System.View", "VApp.Export",
	"VirtualMachine.Config.Annotation", "VirtualMachine.Config.ChangeTracking", "VirtualMachine.Config.DiskLease",
	"VirtualMachine.Provisioning.DiskRandomRead", "VirtualMachine.Provisioning.GetVmFiles"}

func privilege(m *simulator.Method) string {
	if r, ok := m.Body.(*types.ReconfigVM_Task); ok {
		switch {
		case r.Spec.Annotation != "":
			return "VirtualMachine.Config.Annotation"
		case r.Spec.ChangeTrackingEnabled != nil:
			return "VirtualMachine.Config.ChangeTracking"
		default:
			return "VirtualMachine.Config.AdvancedConfig"
		}
	}
	return required[m.Name]
}

func (l *Lab) granted(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.denied[id]
}

func (l *Lab) refuseUnprivileged(ctx *simulator.Context, m *simulator.Method) types.BaseMethodFault {
	id := privilege(m)
	if id == "" || l.granted(id) || ctx.Session.UserName == "" { // the lab's own in-process client has no name
		return nil
	}
	this := m.This
	return &types.NoPermission{Object: &this, PrivilegeId: id}
}

func (l *Lab) availability(ids []string) (p []types.PrivilegeAvailability) {
	for _, id := range ids {
		p = append(p, types.PrivilegeAvailability{PrivId: id, IsGranted: l.granted(id)})
	}
	return p
}

func (l *Lab) entityPrivileges(entities []types.ManagedObjectReference, ids []string) (p []types.EntityPrivilege) {
	for _, e := range entities {
		p = append(p, types.EntityPrivilege{Entity: e, PrivAvailability: l.availability(ids)})
	}
	return p
}

func (l *Lab) HasPrivilegeOnEntities(_ *simulator.Context, r *types.HasPrivilegeOnEntities) soap.HasFault {
	return &methods.HasPrivilegeOnEntitiesBody{
		Res: &types.HasPrivilegeOnEntitiesResponse{Returnval: l.entityPrivileges(r.Entity, r.PrivId)}}
}

func (l *Lab) HasUserPrivilegeOnEntities(_ *simulator.Context, r *types.HasUserPrivilegeOnEntities) soap.HasFault {
	return &methods.HasUserPrivilegeOnEntitiesBody{
		Res: &types.HasUserPrivilegeOnEntitiesResponse{Returnval: l.entityPrivileges(r.Entities, r.PrivId)}}
}

func (l *Lab) HasPrivilegeOnEntity(_ *simulator.Context, r *types.HasPrivilegeOnEntity) soap.HasFault {
	res := new(types.HasPrivilegeOnEntityResponse)
	for _, id := range r.PrivId {
		res.Returnval = append(res.Returnval, l.granted(id))
	}
	return &methods.HasPrivilegeOnEntityBody{Res: res}
}

func (l *Lab) FetchUserPrivilegeOnEntities(ctx *simulator.Context, r *types.FetchUserPrivilegeOnEntities) soap.HasFault {
	all := slices.Clone(extra)
	for _, id := range required {
		all = append(all, id)
	}
	slices.Sort(all)
	all = slices.DeleteFunc(slices.Compact(all), func(id string) bool { return !l.granted(id) })
	res := new(types.FetchUserPrivilegeOnEntitiesResponse)
	for _, e := range r.Entities {
		res.Returnval = append(res.Returnval, types.UserPrivilegeResult{Entity: e, Privileges: all})
	}
	return &methods.FetchUserPrivilegeOnEntitiesBody{Res: res}
}
