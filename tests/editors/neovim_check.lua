-- nvim --headless --clean -n -S neovim_check.lua: the plugin with the bundled model.
local t = dofile(vim.fs.joinpath(vim.fs.dirname(debug.getinfo(1).source:sub(2)), 'neovim_lib.lua'))
local GHOST = vim.lsp.inline_completion ~= nil
vim.lsp.enable('glm_lsp')

-- A small model has nothing to say at some places: ask at several, as a user would who goes on typing.
local PLACES = { 'def total(directory):<CR>return su', 'x = os.path.jo', 'for path in join_names(', 'if not os.path.ex' }
local function suggested(before)
  for _, typed in ipairs(PLACES) do
    t.type(typed)
    local text = t.eventually(15, t.shown)
    if text then return text end
    t.reset(before)
  end
end

t.run(function()
  local client = t.open(vim.env.GLM_FILE)
  if not t.claim('the server attaches', client) then return end
  local before = t.text()

  local text = suggested(before)
  t.claim('a completion appears while typing', text, { t.messages, t.text() })
  if text then
    local typed = t.text()
    t.keys(GHOST and '<Tab>' or '<C-n><C-y>')
    t.claim('it is accepted', t.eventually(5, function()
      return t.text() ~= typed and vim.endswith(t.text(), text)
    end), { text, t.text() })
  end
  t.reset(before)

  local row = vim.fn.search('^def count_lines')
  vim.api.nvim_win_set_cursor(0, { row, 4 })
  t.action('document count_lines')
  t.claim('the docstring is shown first', t.eventually(60, t.window), t.messages)
  vim.cmd.GlmApply()
  t.claim('and written', t.eventually(5, function() return vim.fn.getline(row + 1):match('^    """%u.*%."""$') end),
    { vim.fn.getline(row + 1), t.messages })
  vim.cmd('silent undo')
  t.claim('undo takes it back', t.text() == before, t.text())

  t.messages = {}
  vim.cmd(('%d,%dGlmRefactor return early'):format(row, row + 5))
  t.claim('a refactor ends in a diff or in a sentence', t.eventually(90, function()
    return #t.messages > 0 or t.window()
  end), t.messages)
  vim.cmd('silent! only')

  -- Its worker is killed, as the system would that has no memory left.
  t.reset(before)
  local done = vim.system({ 'glm-lsp', 'worker', 'stop', '--force' }, { text = true }):wait()
  t.claim('the worker is ended', done.code == 0, done)
  t.claim('and the next completion has another', suggested(before), { t.messages, t.text() })
end)
