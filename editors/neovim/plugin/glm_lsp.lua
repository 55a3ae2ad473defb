-- Commands. Nothing of ours is loaded before one is used or the server attaches.
if vim.g.loaded_glm_lsp then
  return
end
vim.g.loaded_glm_lsp = true

local function command(name, options, run)
  vim.api.nvim_create_user_command(name, function(args)
    run(require('glm_lsp'), args)
  end, options)
end

command('GlmRefactor', { range = true, nargs = '*', desc = 'Change the lines as an instruction says' }, function(glm, args)
  glm.run('refactor', args.line1, args.line2, args.args)
end)
command('GlmExplain', { range = true, desc = 'Explain the lines in a window' }, function(glm, args)
  glm.run('explain', args.line1, args.line2)
end)
command('GlmApply', { desc = 'Apply the edit that is shown' }, function()
  require('glm_lsp.preview').decide(true)
end)
command('GlmDiscard', { desc = 'Discard the edit that is shown' }, function()
  require('glm_lsp.preview').decide(false)
end)
command('GlmToggle', { desc = 'Completions in this buffer on or off' }, function(glm)
  glm.toggle()
end)
command('GlmStatus', { desc = 'What serves, and what is indexed' }, function(glm)
  glm.status()
end)
command('GlmRestart', { desc = 'End the server and start another' }, function(glm)
  glm.restart()
end)
